output "runner_settings" {
  description = "The environment of the runner. It holds no credentials."
  value = {
    RCLAUDE_RUNNER_PROVIDERS           = "local,ecs"
    RCLAUDE_RUNNER_GATEWAY_URL         = var.gateway_url
    RCLAUDE_RUNNER_ECS_REGION          = var.region
    RCLAUDE_RUNNER_ECS_CLUSTER         = aws_ecs_cluster.tasks.name
    RCLAUDE_RUNNER_ECS_TASK_DEFINITION = aws_ecs_task_definition.worker.family
    RCLAUDE_RUNNER_ECS_SUBNETS         = join(",", aws_subnet.tasks[*].id)
    RCLAUDE_RUNNER_ECS_SECURITY_GROUPS = aws_security_group.tasks.id
    RCLAUDE_RUNNER_ECS_PUBLIC_IP       = "true"
  }
}

output "repository" {
  description = "Where the worker's image is pushed to."
  value       = aws_ecr_repository.worker.repository_url
}

output "runner_policy" {
  description = "The policy that the runner's role or user needs."
  value       = aws_iam_policy.runner.arn
}
