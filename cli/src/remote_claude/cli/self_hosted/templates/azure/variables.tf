variable "subscription" {
  description = "The id of the subscription."
  type        = string
}

variable "region" {
  description = "The location, such as westeurope."
  type        = string
}

variable "gateway_url" {
  description = "Where tasks reach the gateway: wss://HOST."
  type        = string
}

variable "gateway_cidr" {
  description = "The addresses of the gateway, as a CIDR block."
  type        = string
}

variable "gateway_port" {
  description = "The port of the gateway."
  type        = number
  default     = 443
}

variable "image" {
  description = "The image of the worker, in a registry that Azure can pull from."
  type        = string
}

variable "name" {
  description = "The name of all that is made."
  type        = string
  default     = "remote-claude"
}

variable "cidr" {
  description = "The addresses of the tasks."
  type        = string
  default     = "10.42.0.0/24"
}

variable "runner_principal" {
  description = "The object id of the identity that the runner uses. Empty assigns the role to nobody."
  type        = string
  default     = ""
}
