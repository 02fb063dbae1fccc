variable "account" {
  description = "The AWS account that this is for: no other is touched, and its number ends the names of the buckets."
  type        = string
  validation {
    condition     = can(regex("^[0-9]{12}$", var.account))
    error_message = "An AWS account has 12 digits."
  }
}

variable "region" {
  description = "Of everything."
  type        = string
  default     = "eu-west-1"
}

variable "stage" {
  description = "Of the deployment, such as dev or prod: in names, tags and the dimension of all metrics."
  type        = string
  validation {
    condition     = can(regex("^[a-z][a-z0-9-]{0,15}$", var.stage))
    error_message = "A stage begins with a small letter and has small letters, digits and hyphens, 16 at most."
  }
}

variable "operators" {
  description = "E-mail addresses that hear what is wrong."
  type        = set(string)
  validation {
    condition     = length(var.operators) > 0
    error_message = "Somebody must hear what is wrong."
  }
}

variable "cidr" {
  description = "Addresses of the VPC, a /16."
  type        = string
  default     = "10.20.0.0/16"
  validation {
    condition     = can(cidrsubnet(var.cidr, 8, 255)) && endswith(var.cidr, "/16")
    error_message = "The VPC takes a /16, such as 10.20.0.0/16."
  }
}

variable "zones" {
  description = "Number of availability zones."
  type        = number
  default     = 2
  validation {
    condition     = var.zones >= 2 && var.zones <= 3
    error_message = "RDS wants two zones; not every region has more than three."
  }
}

variable "nat_per_zone" {
  description = "A NAT gateway in each zone, or one for all."
  type        = bool
  default     = false
}

variable "interface_endpoints" {
  description = "AWS services reached inside the VPC instead of through the NAT, such as kinesis-streams."
  type        = set(string)
  default     = []
}

variable "shards" {
  description = "Of the stream; each takes 1 MB or 1,000 events a second."
  type        = number
  default     = 4
}

variable "retention_hours" {
  description = "How long an event can be read again."
  type        = number
  default     = 24
  validation {
    condition     = var.retention_hours >= 24 && var.retention_hours <= 8760
    error_message = "Kinesis keeps events for 24 to 8,760 hours."
  }
}

variable "database" {
  description = "Size of the database, whether a second one stands by, whether it is protected from deletion."
  type        = object({ instance_class = string, storage_gb = number, multi_az = bool, protected = bool })
}

variable "algorithm_repositories" {
  description = "SageMaker's own containers of this region, as account:repository/name; docs/terraform.md says where they stand."
  type        = list(string)
}

variable "notebook" {
  description = "Whether there is a notebook, and its size."
  type        = object({ present = bool, instance_type = string, volume_gb = number })
}

variable "dataset" {
  description = "Table that models are taught from: its key in the data bucket."
  type        = string
  default     = "dataset/creditcard.csv"
}

variable "automation" {
  description = "Schedules and sensors of Dagster that run from the start, besides the monitors."
  type        = set(string)
  default     = []
}

variable "contract" {
  description = "Name of the data contract; the API refuses a manifest of another."
  type        = string
  default     = "creditcard"
}

variable "api_package" {
  description = "Zip that `make package` made, for the first deployment."
  type        = string
  default     = "../../dist/api.zip"
}

variable "api_rate" {
  description = "Requests a second that the API takes."
  type        = number
}

variable "api_burst" {
  description = "Requests at once that the API takes."
  type        = number
}

variable "api_reserved_concurrency" {
  description = "Executions kept for each function of the API, and its most; -1: none are kept."
  type        = number
  default     = -1
}

variable "glue" {
  description = "Type of the stream job's workers, how many at most, from 2; time between the starts of two micro-batches in seconds."
  type        = object({ worker_type = string, most_workers = number, trigger_s = number })
  validation {
    condition     = var.glue.most_workers >= 2
    error_message = "The stream job takes two workers: one is the driver."
  }
}

variable "image_tag" {
  description = "Of the image `graph`: `make orchestration.deploy` pushes it and writes image.auto.tfvars.json. Before that there is none."
  type        = string
  default     = "not-pushed-yet"
}

variable "running" {
  description = "Whether Dagster and the dashboard run: false until the image and Dagster's database are there (docs/deploy.md)."
  type        = bool
  default     = true
}

variable "code_size" {
  description = "CPU units and memory in MiB of the code server, whose container the runs live in."
  type        = object({ cpu = number, memory = number })
}

variable "dashboard_users" {
  description = "E-mail addresses of those who may see the dashboard; without any it does not run."
  type        = set(string)
  default     = []
}

variable "log_days" {
  description = "How long logs are kept, in days."
  type        = number
  default     = 365
}

variable "budget_usd" {
  description = "Of a month, in US dollars; at 80 % of it the operators hear of it."
  type        = number
}

variable "traffic_at_all_hours" {
  description = "Whether half an hour without an approved transaction is a fault."
  type        = bool
}

variable "limits" {
  description = "What is no longer well: latency of a prediction and age of an event in ms, blocked transactions in a minute."
  type        = object({ latency_ms = number, iterator_age_ms = number, blocked_in_a_minute = number })
  default     = { latency_ms = 1000, iterator_age_ms = 120000, blocked_in_a_minute = 100 }
}
