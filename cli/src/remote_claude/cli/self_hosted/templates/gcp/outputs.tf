locals {
  repository = "${var.region}-docker.pkg.dev/${var.project}/${google_artifact_registry_repository.images.repository_id}/worker"
}

output "runner_settings" {
  description = "The environment of the runner. It holds no credentials."
  value = {
    RCLAUDE_RUNNER_PROVIDERS                 = "local,cloud_run"
    RCLAUDE_RUNNER_GATEWAY_URL               = var.gateway_url
    RCLAUDE_RUNNER_CLOUD_RUN_PROJECT         = var.project
    RCLAUDE_RUNNER_CLOUD_RUN_REGION          = var.region
    RCLAUDE_RUNNER_CLOUD_RUN_IMAGE           = var.image != "" ? var.image : "${local.repository}:latest"
    RCLAUDE_RUNNER_CLOUD_RUN_SERVICE_ACCOUNT = google_service_account.tasks.email
    RCLAUDE_RUNNER_CLOUD_RUN_NETWORK         = google_compute_network.tasks.name
    RCLAUDE_RUNNER_CLOUD_RUN_SUBNET          = google_compute_subnetwork.tasks.name
  }
}

output "repository" {
  description = "Where the worker's image is pushed to."
  value       = local.repository
}

output "runner_account" {
  description = "The account that the runner should use."
  value       = google_service_account.runner.email
}
