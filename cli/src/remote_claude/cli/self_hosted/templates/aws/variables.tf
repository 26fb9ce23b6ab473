variable "region" {
  description = "The region, such as eu-central-1."
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

variable "name" {
  description = "The name of all that is made."
  type        = string
  default     = "remote-claude"
}

variable "image" {
  description = "The image of the worker. Empty is this deployment's own repository."
  type        = string
  default     = ""
}

variable "cidr" {
  description = "The addresses of the tasks."
  type        = string
  default     = "10.42.0.0/24"
}

variable "log_retention_days" {
  description = "How long the log of the workers is kept."
  type        = number
  default     = 14
}
