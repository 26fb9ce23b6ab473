variable "project" {
  description = "The id of the project."
  type        = string
}

variable "region" {
  description = "The region, such as europe-west1."
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
  description = "The name of all that is made: at most 23 of a-z, 0-9 and -."
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
