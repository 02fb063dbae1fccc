variable "name" {
  description = "Of the job."
  type        = string
}

variable "stage" {
  description = "Of the deployment: the dimension of its metrics."
  type        = string
}

variable "solution_prefix" {
  description = "Starts the names of models, endpoints and roles."
  type        = string
}

variable "stream_name" {
  description = "Kinesis stream of the events."
  type        = string
}

variable "stream_arn" {
  description = "Of the same stream."
  type        = string
}

variable "stream_bucket_name" {
  description = "Of the job's code and checkpoint."
  type        = string
}

variable "stream_bucket_arn" {
  description = "Of the same bucket."
  type        = string
}

variable "writer_secret_arn" {
  description = "Login of the database's role that writes."
  type        = string
}

variable "kms_key_arn" {
  description = "Key of what it reads and writes."
  type        = string
}

variable "vpc_id" {
  description = "Where the workers are."
  type        = string
}

variable "subnet_id" {
  description = "Private subnet of the workers."
  type        = string
}

variable "zone" {
  description = "Of the same subnet."
  type        = string
}

variable "warehouse" {
  description = "Security group and port of the database."
  type        = object({ security_group_id = string, port = number })
}

variable "worker_type" {
  description = "G.1X and larger, or G.025X, which is a quarter of one."
  type        = string
}

variable "most_workers" {
  description = "Workers at most; there are as many as there is work for, from 2."
  type        = number
}

variable "trigger_s" {
  description = "Time between the starts of two micro-batches, in seconds."
  type        = number
}
