variable "name" {
  description = "Of the stream."
  type        = string
}

variable "shards" {
  description = "Each takes 1 MB or 1,000 events a second."
  type        = number
}

variable "retention_hours" {
  description = "How long an event can be read again."
  type        = number
}

variable "kms_key_arn" {
  description = "Key of the events at rest."
  type        = string
}
