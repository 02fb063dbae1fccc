variable "name" {
  description = "Of the instance."
  type        = string
}

variable "database" {
  description = "Name of the database."
  type        = string
}

variable "secrets" {
  description = "Starts the names of the secrets of the roles."
  type        = string
}

variable "vpc_id" {
  description = "Where it is."
  type        = string
}

variable "subnet_ids" {
  description = "Private subnets of at least two zones."
  type        = list(string)
}

variable "instance_class" {
  description = "Such as db.t3.micro."
  type        = string
}

variable "storage_gb" {
  description = "At first; it grows to four times that by itself."
  type        = number
}

variable "multi_az" {
  description = "Whether a second instance stands by in another zone."
  type        = bool
}

variable "protected" {
  description = "Whether it can only be deleted after that was allowed, and with a last snapshot."
  type        = bool
}

variable "kms_key_arn" {
  description = "Key of the storage and the secrets."
  type        = string
}

variable "log_days" {
  description = "How long logs are kept, in days."
  type        = number
}
