# Remote Claude on Google Cloud, compute only: tasks run as executions of Cloud Run jobs, the control plane runs elsewhere.
# A task's account has no role. A task reaches the gateway's addresses and Google's own APIs, nothing else.

terraform {
  required_version = ">= 1.5"
  required_providers {
    google = {
      source  = "hashicorp/google"
      version = ">= 6.0, < 8.0"
    }
  }
}

provider "google" {
  project = var.project
  region  = var.region
}

locals {
  labels = { remote-claude = "compute" }
}

resource "google_project_service" "needed" {
  for_each           = toset(["artifactregistry.googleapis.com", "compute.googleapis.com", "logging.googleapis.com", "run.googleapis.com"])
  service            = each.value
  disable_on_destroy = false
}

resource "google_artifact_registry_repository" "images" {
  repository_id = var.name
  location      = var.region
  format        = "DOCKER"
  description   = "The worker of Remote Claude"
  labels        = local.labels
  depends_on    = [google_project_service.needed]
}

resource "google_compute_network" "tasks" {
  name                    = var.name
  auto_create_subnetworks = false
  depends_on              = [google_project_service.needed]
}

resource "google_compute_subnetwork" "tasks" {
  name                     = var.name
  network                  = google_compute_network.tasks.id
  region                   = var.region
  ip_cidr_range            = var.cidr
  private_ip_google_access = true

  log_config {
    aggregation_interval = "INTERVAL_10_MIN"
    flow_sampling        = 0.1
  }
}

resource "google_compute_router" "tasks" {
  name    = var.name
  network = google_compute_network.tasks.id
  region  = var.region
}

resource "google_compute_router_nat" "tasks" {
  name                               = var.name
  router                             = google_compute_router.tasks.name
  region                             = var.region
  nat_ip_allocate_option             = "AUTO_ONLY"
  source_subnetwork_ip_ranges_to_nat = "ALL_SUBNETWORKS_ALL_IP_RANGES"
}

resource "google_compute_firewall" "gateway" {
  name               = "${var.name}-gateway"
  network            = google_compute_network.tasks.name
  direction          = "EGRESS"
  priority           = 1000
  destination_ranges = [var.gateway_cidr]

  allow {
    protocol = "tcp"
    ports    = [tostring(var.gateway_port)]
  }
}

resource "google_compute_firewall" "nothing_else" {
  name               = "${var.name}-nothing-else"
  network            = google_compute_network.tasks.name
  direction          = "EGRESS"
  priority           = 65000
  destination_ranges = ["0.0.0.0/0"]

  deny {
    protocol = "all"
  }
}

resource "google_compute_firewall" "nothing_in" {
  name          = "${var.name}-nothing-in"
  network       = google_compute_network.tasks.name
  direction     = "INGRESS"
  priority      = 65000
  source_ranges = ["0.0.0.0/0"]

  deny {
    protocol = "all"
  }
}

# What runs in a task can become this account through the metadata server: it has no role.
resource "google_service_account" "tasks" {
  account_id   = "${var.name}-tasks"
  display_name = "Tasks of Remote Claude, without rights"
}

resource "google_service_account" "runner" {
  account_id   = "${var.name}-runner"
  display_name = "The runner of Remote Claude: starts, sees and ends tasks"
}

resource "google_project_iam_member" "runner" {
  for_each = toset(["roles/run.developer", "roles/logging.viewer"])
  project  = var.project
  role     = each.value
  member   = "serviceAccount:${google_service_account.runner.email}"
}

resource "google_service_account_iam_member" "runner_starts_tasks" {
  service_account_id = google_service_account.tasks.name
  role               = "roles/iam.serviceAccountUser"
  member             = "serviceAccount:${google_service_account.runner.email}"
}
