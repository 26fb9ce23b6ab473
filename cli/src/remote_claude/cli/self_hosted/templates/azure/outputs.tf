output "runner_settings" {
  description = "The environment of the runner. It holds no credentials."
  value = {
    RCLAUDE_RUNNER_PROVIDERS                          = "local,container_instances"
    RCLAUDE_RUNNER_GATEWAY_URL                        = var.gateway_url
    RCLAUDE_RUNNER_CONTAINER_INSTANCES_SUBSCRIPTION   = var.subscription
    RCLAUDE_RUNNER_CONTAINER_INSTANCES_RESOURCE_GROUP = azurerm_resource_group.tasks.name
    RCLAUDE_RUNNER_CONTAINER_INSTANCES_LOCATION       = azurerm_resource_group.tasks.location
    RCLAUDE_RUNNER_CONTAINER_INSTANCES_IMAGE          = var.image
    RCLAUDE_RUNNER_CONTAINER_INSTANCES_SUBNET         = azurerm_subnet.tasks.id
  }
}
