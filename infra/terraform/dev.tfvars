# The cheapest that has everything. Take a copy, put in your account and addresses; nothing here is secret.
account   = "123456789012"
stage     = "dev"
operators = ["fraud-team@example.com"]

shards   = 1
database = { instance_class = "db.t3.micro", storage_gb = 20, multi_az = false, protected = false }
notebook = { present = true, instance_type = "ml.t3.medium", volume_gb = 10 }

# eu-west-1: https://docs.aws.amazon.com/sagemaker/latest/dg-ecr-paths/ecr-eu-west-1.html
algorithm_repositories = [
  "141502667606:repository/sagemaker-xgboost",
  "438346466558:repository/randomcutforest",
]

api_rate  = 50
api_burst = 100

glue      = { worker_type = "G.025X", most_workers = 2, trigger_s = 1 }
code_size = { cpu = 1024, memory = 4096 }

# What is trained anew is for a person to say.
automation = ["daily_schedule", "performance_by_label_age", "daily_clean_up"]

budget_usd           = 500
traffic_at_all_hours = false
