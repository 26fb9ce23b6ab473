# Remote Claude on Azure, compute only: tasks run as Container Instances, the control plane runs elsewhere. A group has no
# identity. A task reaches the gateway's addresses and nothing else; its image is loaded by Azure.

terraform {
  required_version = ">= 1.5"
  required_providers {
    azurerm = {
      source  = "hashicorp/azurerm"
      version = ">= 4.0, < 5.0"
    }
  }
}

provider "azurerm" {
  subscription_id = var.subscription
  features {}
}

locals {
  tags = { remote-claude = "compute" }
}

resource "azurerm_resource_group" "tasks" {
  name     = var.name
  location = var.region
  tags     = local.tags
}

resource "azurerm_virtual_network" "tasks" {
  name                = var.name
  resource_group_name = azurerm_resource_group.tasks.name
  location            = azurerm_resource_group.tasks.location
  address_space       = [var.cidr]
  tags                = local.tags
}

resource "azurerm_subnet" "tasks" {
  name                            = "tasks"
  resource_group_name             = azurerm_resource_group.tasks.name
  virtual_network_name            = azurerm_virtual_network.tasks.name
  address_prefixes                = [var.cidr]
  default_outbound_access_enabled = false

  delegation {
    name = "container-groups"
    service_delegation {
      name    = "Microsoft.ContainerInstance/containerGroups"
      actions = ["Microsoft.Network/virtualNetworks/subnets/action"]
    }
  }
}

resource "azurerm_network_security_group" "tasks" {
  name                = var.name
  resource_group_name = azurerm_resource_group.tasks.name
  location            = azurerm_resource_group.tasks.location
  tags                = local.tags

  security_rule {
    name                       = "nothing-in"
    priority                   = 4000
    direction                  = "Inbound"
    access                     = "Deny"
    protocol                   = "*"
    source_port_range          = "*"
    destination_port_range     = "*"
    source_address_prefix      = "*"
    destination_address_prefix = "*"
  }

  security_rule {
    name                       = "gateway"
    priority                   = 1000
    direction                  = "Outbound"
    access                     = "Allow"
    protocol                   = "Tcp"
    source_port_range          = "*"
    destination_port_range     = tostring(var.gateway_port)
    source_address_prefix      = "*"
    destination_address_prefix = var.gateway_cidr
  }

  security_rule {
    name                       = "nothing-else"
    priority                   = 4000
    direction                  = "Outbound"
    access                     = "Deny"
    protocol                   = "*"
    source_port_range          = "*"
    destination_port_range     = "*"
    source_address_prefix      = "*"
    destination_address_prefix = "*"
  }
}

resource "azurerm_subnet_network_security_group_association" "tasks" {
  subnet_id                 = azurerm_subnet.tasks.id
  network_security_group_id = azurerm_network_security_group.tasks.id
}

resource "azurerm_public_ip" "outbound" {
  name                = "${var.name}-outbound"
  resource_group_name = azurerm_resource_group.tasks.name
  location            = azurerm_resource_group.tasks.location
  allocation_method   = "Static"
  sku                 = "Standard"
  tags                = local.tags
}

resource "azurerm_nat_gateway" "outbound" {
  name                = "${var.name}-outbound"
  resource_group_name = azurerm_resource_group.tasks.name
  location            = azurerm_resource_group.tasks.location
  sku_name            = "Standard"
  tags                = local.tags
}

resource "azurerm_nat_gateway_public_ip_association" "outbound" {
  nat_gateway_id       = azurerm_nat_gateway.outbound.id
  public_ip_address_id = azurerm_public_ip.outbound.id
}

resource "azurerm_subnet_nat_gateway_association" "outbound" {
  subnet_id      = azurerm_subnet.tasks.id
  nat_gateway_id = azurerm_nat_gateway.outbound.id
}

# What the runner needs: start, see and end container groups of this resource group.
resource "azurerm_role_definition" "runner" {
  name        = "${var.name}-runner"
  scope       = azurerm_resource_group.tasks.id
  description = "The runner of Remote Claude: starts, sees and ends tasks"

  permissions {
    actions = [
      "Microsoft.ContainerInstance/containerGroups/read",
      "Microsoft.ContainerInstance/containerGroups/write",
      "Microsoft.ContainerInstance/containerGroups/delete",
      "Microsoft.ContainerInstance/containerGroups/containers/logs/read",
      "Microsoft.ContainerInstance/locations/operations/read",
      "Microsoft.Network/virtualNetworks/subnets/join/action",
    ]
    not_actions = []
  }

  assignable_scopes = [azurerm_resource_group.tasks.id]
}

resource "azurerm_role_assignment" "runner" {
  count              = var.runner_principal == "" ? 0 : 1
  scope              = azurerm_resource_group.tasks.id
  role_definition_id = azurerm_role_definition.runner.role_definition_resource_id
  principal_id       = var.runner_principal
}
