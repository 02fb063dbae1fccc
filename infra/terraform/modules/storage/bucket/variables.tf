variable "name" {
  description = "Of the bucket."
  type        = string
}

variable "expire" {
  description = "Days that objects stay, by folder; others stay."
  type        = map(number)
}

variable "kms_key_arn" {
  description = "Key of the objects."
  type        = string
}
