# A loss of one zone is survived, and nothing is deleted by mistake. Take a copy, put in your account and addresses; nothing here is secret.
account   = "123456789012"
stage     = "prod"
operators = ["fraud-team@example.com", "on-call@example.com"]

zones               = 3
nat_per_zone        = true
interface_endpoints = ["kinesis-streams", "secretsmanager", "logs", "sagemaker.runtime", "ecr.api", "ecr.dkr"]

shards          = 4
retention_hours = 168
database        = { instance_class = "db.m7g.large", storage_gb = 200, multi_az = true, protected = true }
notebook        = { present = false, instance_type = "ml.t3.medium", volume_gb = 10 }

# eu-west-1: https://docs.aws.amazon.com/sagemaker/latest/dg-ecr-paths/ecr-eu-west-1.html
algorithm_repositories = [
  "141502667606:repository/sagemaker-xgboost",
  "438346466558:repository/randomcutforest",
]

api_rate                 = 1000
api_burst                = 2000
api_reserved_concurrency = 200

glue            = { worker_type = "G.1X", most_workers = 10, trigger_s = 1 }
code_size       = { cpu = 4096, memory = 16384 }
dashboard_users = ["fraud-team@example.com"]

# The gate decides what serves, whoever asked for the training.
automation = [
  "daily_schedule", "performance_by_label_age", "daily_clean_up", "archive_matured",
  "weekly_retrain", "new_data", "retrain_on_drift", "retrain_on_performance",
]

budget_usd           = 4000
traffic_at_all_hours = true
