# What the root refuses before anything is planned.

mock_provider "aws" {
  mock_data "aws_availability_zones" {
    defaults = { names = ["eu-west-1a", "eu-west-1b", "eu-west-1c"] }
  }
}

# One of each kind at once: Terraform names them all.
run "values_that_cannot_be" {
  command = plan
  variables {
    account         = "1234"                                                    # not twelve digits
    stage           = "Dev_1"                                                   # no name of a bucket or a role
    operators       = []                                                        # nobody hears what is wrong
    zones           = 1                                                         # RDS wants two
    cidr            = "10.20.0.0/24"                                            # no room for the subnets
    retention_hours = 12                                                        # Kinesis keeps a day at least
    glue            = { worker_type = "G.1X", most_workers = 1, trigger_s = 1 } # one is the driver

    database               = { instance_class = "db.t3.micro", storage_gb = 20, multi_az = false, protected = false }
    notebook               = { present = false, instance_type = "ml.t3.medium", volume_gb = 5 }
    algorithm_repositories = []
    api_rate               = 50
    api_burst              = 100
    image_tag              = "0.1.0"
    code_size              = { cpu = 1024, memory = 4096 }
    budget_usd             = 600
    traffic_at_all_hours   = false
  }
  expect_failures = [var.account, var.stage, var.operators, var.zones, var.cidr, var.retention_hours, var.glue]
}
