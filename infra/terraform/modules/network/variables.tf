variable "name" {
  description = "Starts the names of everything here."
  type        = string
}

variable "cidr" {
  description = "Addresses of the VPC, a /16."
  type        = string
}

variable "zones" {
  description = "Number of availability zones; RDS and Glue need two."
  type        = number
}

variable "nat_per_zone" {
  description = "A NAT gateway in each zone, or one for all."
  type        = bool
}

variable "interface_endpoints" {
  description = "AWS services reached inside the VPC instead of through the NAT, such as kinesis-streams."
  type        = set(string)
}

variable "kms_key_arn" {
  description = "Key of the logs."
  type        = string
}

variable "log_days" {
  description = "How long logs are kept, in days."
  type        = number
}
