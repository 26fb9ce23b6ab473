// The same as main.tf, for `az deployment group create --resource-group GROUP --template-file main.bicep`.

@description('The location of all that is made.')
param location string = resourceGroup().location

@description('Where tasks reach the gateway: wss://HOST.')
param gatewayUrl string

@description('The addresses of the gateway, as a CIDR block.')
param gatewayCidr string

@description('The port of the gateway.')
param gatewayPort int = 443

@description('The image of the worker, in a registry that Azure can pull from.')
param image string

@description('The name of all that is made.')
param name string = 'remote-claude'

@description('The addresses of the tasks.')
param cidr string = '10.42.0.0/24'

@description('The object id of the identity that the runner uses. Empty assigns the role to nobody.')
param runnerPrincipal string = ''

var tags = { 'remote-claude': 'compute' }

resource securityGroup 'Microsoft.Network/networkSecurityGroups@2024-05-01' = {
  name: name
  location: location
  tags: tags
  properties: {
    securityRules: [
      {
        name: 'nothing-in'
        properties: {
          priority: 4000
          direction: 'Inbound'
          access: 'Deny'
          protocol: '*'
          sourcePortRange: '*'
          destinationPortRange: '*'
          sourceAddressPrefix: '*'
          destinationAddressPrefix: '*'
        }
      }
      {
        name: 'gateway'
        properties: {
          priority: 1000
          direction: 'Outbound'
          access: 'Allow'
          protocol: 'Tcp'
          sourcePortRange: '*'
          destinationPortRange: string(gatewayPort)
          sourceAddressPrefix: '*'
          destinationAddressPrefix: gatewayCidr
        }
      }
      {
        name: 'nothing-else'
        properties: {
          priority: 4000
          direction: 'Outbound'
          access: 'Deny'
          protocol: '*'
          sourcePortRange: '*'
          destinationPortRange: '*'
          sourceAddressPrefix: '*'
          destinationAddressPrefix: '*'
        }
      }
    ]
  }
}

resource outboundAddress 'Microsoft.Network/publicIPAddresses@2024-05-01' = {
  name: '${name}-outbound'
  location: location
  tags: tags
  sku: { name: 'Standard' }
  properties: { publicIPAllocationMethod: 'Static' }
}

resource outbound 'Microsoft.Network/natGateways@2024-05-01' = {
  name: '${name}-outbound'
  location: location
  tags: tags
  sku: { name: 'Standard' }
  properties: { publicIpAddresses: [{ id: outboundAddress.id }] }
}

resource network 'Microsoft.Network/virtualNetworks@2024-05-01' = {
  name: name
  location: location
  tags: tags
  properties: {
    addressSpace: { addressPrefixes: [cidr] }
    subnets: [
      {
        name: 'tasks'
        properties: {
          addressPrefix: cidr
          defaultOutboundAccess: false
          networkSecurityGroup: { id: securityGroup.id }
          natGateway: { id: outbound.id }
          delegations: [
            {
              name: 'container-groups'
              properties: { serviceName: 'Microsoft.ContainerInstance/containerGroups' }
            }
          ]
        }
      }
    ]
  }
}

resource runnerRole 'Microsoft.Authorization/roleDefinitions@2022-04-01' = {
  name: guid(resourceGroup().id, name, 'runner')
  properties: {
    roleName: '${name}-runner'
    description: 'The runner of Remote Claude: starts, sees and ends tasks'
    type: 'CustomRole'
    permissions: [
      {
        actions: [
          'Microsoft.ContainerInstance/containerGroups/read'
          'Microsoft.ContainerInstance/containerGroups/write'
          'Microsoft.ContainerInstance/containerGroups/delete'
          'Microsoft.ContainerInstance/containerGroups/containers/logs/read'
          'Microsoft.ContainerInstance/locations/operations/read'
          'Microsoft.Network/virtualNetworks/subnets/join/action'
        ]
        notActions: []
      }
    ]
    assignableScopes: [resourceGroup().id]
  }
}

resource runnerAssignment 'Microsoft.Authorization/roleAssignments@2022-04-01' = if (runnerPrincipal != '') {
  name: guid(resourceGroup().id, name, runnerPrincipal)
  properties: {
    roleDefinitionId: runnerRole.id
    principalId: runnerPrincipal
  }
}

output runnerSettings object = {
  RCLAUDE_RUNNER_PROVIDERS: 'local,container_instances'
  RCLAUDE_RUNNER_GATEWAY_URL: gatewayUrl
  RCLAUDE_RUNNER_CONTAINER_INSTANCES_SUBSCRIPTION: subscription().subscriptionId
  RCLAUDE_RUNNER_CONTAINER_INSTANCES_RESOURCE_GROUP: resourceGroup().name
  RCLAUDE_RUNNER_CONTAINER_INSTANCES_LOCATION: location
  RCLAUDE_RUNNER_CONTAINER_INSTANCES_IMAGE: image
  RCLAUDE_RUNNER_CONTAINER_INSTANCES_SUBNET: network.properties.subnets[0].id
}
