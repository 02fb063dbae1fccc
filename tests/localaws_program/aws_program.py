"""A program for AWS, written from AWS's documentation alone: it trains, deploys, invokes, streams, reshards, alarms, and reads its logs.

Nothing in it knows where it runs: the environment points boto3 to an account, or to an embedded AWS. Run as
``python aws_program.py work`` and, later, ``python aws_program.py look``, which expects to find all that the first left there; each
prints what it saw as one line of JSON.
"""

import json
import os
import random
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any

import boto3
import psycopg2
from botocore.exceptions import ClientError

REGION = os.environ["AWS_REGION"]
ROLE = "arn:aws:iam::123456789012:role/program"
BUCKET = "program-data"
STREAM = "program-stream"
XGBOOST = f"141502667606.dkr.ecr.{REGION}.amazonaws.com/sagemaker-xgboost:3.0-5"
FOREST = f"438346466558.dkr.ecr.{REGION}.amazonaws.com/randomcutforest:1"
FEATURES = 4
RECORDS = 3000
WAIT_S = 120

s3: Any = boto3.client("s3")
sagemaker: Any = boto3.client("sagemaker")
runtime: Any = boto3.client("sagemaker-runtime")
kinesis: Any = boto3.client("kinesis")
glue: Any = boto3.client("glue")
cloudwatch: Any = boto3.client("cloudwatch")
logs: Any = boto3.client("logs")
sns: Any = boto3.client("sns")
sqs: Any = boto3.client("sqs")
secrets: Any = boto3.client("secretsmanager")
ssm: Any = boto3.client("ssm")


def wait_for(what: str, is_so: Callable[[], Any]) -> Any:
    """Poll until something is so, and return it."""
    deadline = time.monotonic() + WAIT_S
    while not (found := is_so()):
        if time.monotonic() > deadline:
            raise SystemExit(f"after {WAIT_S} s still waiting for {what}")
        time.sleep(0.2)
    return found


def rows(count: int, seed: int) -> Iterator[list[float]]:
    """Rows of a label and features: a fraud lies far out."""
    generator = random.Random(seed)  # noqa: S311 - a table, no secret
    for _ in range(count):
        label = int(generator.random() < 0.1)
        yield [label, *(generator.gauss(4 * label, 1) for _ in range(FEATURES))]


def csv(table: list[list[float]]) -> str:
    return "\n".join(",".join(f"{value:g}" for value in row) for row in table)


def channel(name: str, prefix: str, content_type: str, distribution: str = "FullyReplicated") -> dict[str, Any]:
    source = {"S3DataType": "S3Prefix", "S3Uri": f"s3://{BUCKET}/{prefix}", "S3DataDistributionType": distribution}
    return {"ChannelName": name, "ContentType": content_type, "DataSource": {"S3DataSource": source}}


def train(name: str, image: str, hyperparameters: dict[str, str], channels: list[dict[str, Any]]) -> dict[str, Any]:
    sagemaker.create_training_job(
        TrainingJobName=name,
        AlgorithmSpecification={"TrainingImage": image, "TrainingInputMode": "File"},
        RoleArn=ROLE,
        HyperParameters=hyperparameters,
        InputDataConfig=channels,
        OutputDataConfig={"S3OutputPath": f"s3://{BUCKET}/models"},
        ResourceConfig={"InstanceType": "ml.m5.large", "InstanceCount": 1, "VolumeSizeInGB": 10},
        StoppingCondition={"MaxRuntimeInSeconds": 600},
        Tags=[{"Key": "project", "Value": "program"}],
    )
    sagemaker.get_waiter("training_job_completed_or_stopped").wait(
        TrainingJobName=name, WaiterConfig={"Delay": 1, "MaxAttempts": WAIT_S}
    )
    job: dict[str, Any] = sagemaker.describe_training_job(TrainingJobName=name)
    return job


def train_models() -> dict[str, Any]:
    """Upload tables and train both algorithms on them."""
    location: Any = {"LocationConstraint": REGION}
    s3.create_bucket(Bucket=BUCKET, CreateBucketConfiguration=location)
    for part in range(2):
        s3.put_object(Bucket=BUCKET, Key=f"train/part-{part}.csv", Body=csv(list(rows(1000, seed=part))).encode())
    s3.put_object(Bucket=BUCKET, Key="validation/part-0.csv", Body=csv(list(rows(500, seed=7))).encode())
    for part in range(2):
        unlabelled = [row[1:] for row in rows(1000, seed=part)]
        s3.put_object(Bucket=BUCKET, Key=f"unlabelled/part-{part}.csv", Body=csv(unlabelled).encode())
    boosted = train(
        "program-xgboost",
        XGBOOST,
        {"objective": "binary:logistic", "eval_metric": "aucpr", "num_round": "50", "early_stopping_rounds": "5"},
        [channel("train", "train/", "text/csv"), channel("validation", "validation/", "text/csv")],
    )
    forest = train(
        "program-forest",
        FOREST,
        {"feature_dim": str(FEATURES), "num_trees": "50"},
        [
            channel("train", "unlabelled/", "text/csv;label_size=0", "ShardedByS3Key"),
            channel("test", "validation/", "text/csv;label_size=1"),
        ],
    )
    return {
        "statuses": [boosted["TrainingJobStatus"], forest["TrainingJobStatus"]],
        "reasons": [boosted.get("FailureReason"), forest.get("FailureReason")],
        "steps": [step["Status"] for step in boosted["SecondaryStatusTransitions"]],
        "metrics": sorted(
            metric["MetricName"] for job in (boosted, forest) for metric in job.get("FinalMetricDataList", [])
        ),
        "artefacts": [job["ModelArtifacts"]["S3ModelArtifacts"] for job in (boosted, forest)],
    }


def deploy(name: str, image: str, artefact: str, variant: dict[str, Any]) -> None:
    sagemaker.create_model_package_group(ModelPackageGroupName=name)
    package = sagemaker.create_model_package(
        ModelPackageGroupName=name,
        InferenceSpecification={
            "Containers": [{"Image": image, "ModelDataUrl": artefact}],
            "SupportedContentTypes": ["text/csv"],
            "SupportedResponseMIMETypes": ["application/json"],
        },
        ModelApprovalStatus="PendingManualApproval",
    )["ModelPackageArn"]
    sagemaker.update_model_package(ModelPackageArn=package, ModelApprovalStatus="Approved")
    sagemaker.create_model(
        ModelName=name, PrimaryContainer={"Image": image, "ModelDataUrl": artefact}, ExecutionRoleArn=ROLE
    )
    sagemaker.create_endpoint_config(
        EndpointConfigName=name, ProductionVariants=[{"VariantName": "AllTraffic", "ModelName": name, **variant}]
    )
    sagemaker.create_endpoint(EndpointName=name, EndpointConfigName=name)
    sagemaker.get_waiter("endpoint_in_service").wait(
        EndpointName=name, WaiterConfig={"Delay": 1, "MaxAttempts": WAIT_S}
    )


def invoke(name: str, body: str) -> dict[str, Any]:
    reply = runtime.invoke_endpoint(EndpointName=name, ContentType="text/csv", Accept="application/json", Body=body)
    answer: dict[str, Any] = json.loads(reply["Body"].read())
    return answer


def ask_models() -> dict[str, Any]:
    """Ask both endpoints for two rows: an ordinary one, and one far out."""
    two = csv([[0.1] * FEATURES, [4.1] * FEATURES])
    return {
        "probabilities": [item["score"] for item in invoke("program-xgboost", two)["predictions"]],
        "scores": [item["score"] for item in invoke("program-forest", two)["scores"]],
    }


def deploy_models(artefacts: list[str]) -> dict[str, Any]:
    """Register, approve and deploy both models, and ask them."""
    instance = {"InitialInstanceCount": 1, "InstanceType": "ml.t2.medium"}
    deploy("program-xgboost", XGBOOST, artefacts[0], instance)
    serverless = {"ServerlessConfig": {"MemorySizeInMB": 2048, "MaxConcurrency": 5}}
    deploy("program-forest", FOREST, artefacts[1], serverless)
    try:
        invoke("program-xgboost", "not,a,number,row")
    except ClientError as error:
        response: Any = error.response
        refused = [response["Error"]["Code"], response["OriginalStatusCode"]]
    return {**ask_models(), "refused": refused}


def shards() -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = kinesis.list_shards(StreamName=STREAM)["Shards"]
    return found


def open_shards() -> list[dict[str, Any]]:
    return [shard for shard in shards() if "EndingSequenceNumber" not in shard["SequenceNumberRange"]]


def put(first: int, last: int) -> None:
    """Put numbered records, those again that were not taken."""
    waiting = [{"Data": json.dumps({"n": n}).encode(), "PartitionKey": f"user-{n % 97}"} for n in range(first, last)]
    while waiting:
        batch, waiting = waiting[:500], waiting[500:]
        answer = kinesis.put_records(StreamName=STREAM, Records=batch)
        waiting += [record for record, result in zip(batch, answer["Records"], strict=True) if "ErrorCode" in result]


def read_all() -> list[int]:
    """Read every record, each shard before its children."""
    numbers, read = [], set[str]()
    waiting = [shard["ShardId"] for shard in shards() if "ParentShardId" not in shard]
    while waiting:
        shard_id = waiting.pop(0)
        if shard_id in read:
            continue
        read.add(shard_id)
        iterator = kinesis.get_shard_iterator(StreamName=STREAM, ShardId=shard_id, ShardIteratorType="TRIM_HORIZON")[
            "ShardIterator"
        ]
        while iterator:
            answer = kinesis.get_records(ShardIterator=iterator, Limit=1000)
            numbers += [json.loads(record["Data"])["n"] for record in answer["Records"]]
            waiting += [child["ShardId"] for child in answer.get("ChildShards", [])]
            iterator = answer.get("NextShardIterator")
            if not answer["Records"] and answer["MillisBehindLatest"] == 0:
                break
    return numbers


def stream() -> dict[str, Any]:
    """Put records while the stream is split and merged, and read them back."""
    kinesis.create_stream(StreamName=STREAM, ShardCount=2)
    kinesis.get_waiter("stream_exists").wait(StreamName=STREAM)
    put(0, 1000)
    hash_keys = open_shards()[0]["HashKeyRange"]
    middle = (int(hash_keys["StartingHashKey"]) + int(hash_keys["EndingHashKey"])) // 2
    kinesis.split_shard(StreamName=STREAM, ShardToSplit=open_shards()[0]["ShardId"], NewStartingHashKey=str(middle))
    kinesis.get_waiter("stream_exists").wait(StreamName=STREAM)
    put(1000, 2000)
    by_key = sorted(open_shards(), key=lambda shard: int(shard["HashKeyRange"]["StartingHashKey"]))
    kinesis.merge_shards(
        StreamName=STREAM, ShardToMerge=by_key[0]["ShardId"], AdjacentShardToMerge=by_key[1]["ShardId"]
    )
    kinesis.get_waiter("stream_exists").wait(StreamName=STREAM)
    put(2000, RECORDS)
    kinesis.increase_stream_retention_period(StreamName=STREAM, RetentionPeriodHours=48)
    return {"records": sorted(read_all()) == list(range(RECORDS)), "open": len(open_shards()), "all": len(shards())}


def run_job() -> dict[str, Any]:
    """Run a Glue job and read what it printed."""
    script = "import sys\nprint('hello from', sys.argv[sys.argv.index('--who') + 1])\n"
    s3.put_object(Bucket=BUCKET, Key="job.py", Body=script.encode())
    glue.create_job(
        Name="program-job",
        Role=ROLE,
        Command={"Name": "glueetl", "ScriptLocation": f"s3://{BUCKET}/job.py", "PythonVersion": "3"},
        DefaultArguments={"--who": "nobody"},
        GlueVersion="6.0",
    )
    run_id = glue.start_job_run(JobName="program-job", Arguments={"--who": "somebody"})["JobRunId"]

    def ended() -> Any:
        run = glue.get_job_run(JobName="program-job", RunId=run_id)["JobRun"]
        return run if run["JobRunState"] not in {"STARTING", "RUNNING", "WAITING"} else None

    run = wait_for("the Glue run", ended)
    return {"state": run["JobRunState"], "log": log_lines("/aws-glue/jobs/output", run_id)}


def log_lines(group: str, prefix: str) -> list[str]:
    """Read the log streams of a group whose names begin with a prefix, once there are any lines."""

    def lines() -> list[str]:
        try:
            streams = logs.describe_log_streams(logGroupName=group, logStreamNamePrefix=prefix)["logStreams"]
        except logs.exceptions.ResourceNotFoundException:
            return []
        return [
            event["message"]
            for stream in streams
            for event in logs.get_log_events(
                logGroupName=group, logStreamName=stream["logStreamName"], startFromHead=True
            )["events"]
        ]

    found: list[str] = wait_for(f"lines in {group} {prefix}", lines)
    return found


def alarm() -> dict[str, Any]:
    """Make an alarm, let its metric cross the threshold, and take the message from a queue."""
    topic = sns.create_topic(Name="program-alerts")["TopicArn"]
    queue = sqs.create_queue(QueueName="program-alerts")["QueueUrl"]
    arn = sqs.get_queue_attributes(QueueUrl=queue, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]
    sns.subscribe(TopicArn=topic, Protocol="sqs", Endpoint=arn)
    cloudwatch.put_metric_alarm(
        AlarmName="program-errors",
        Namespace="program",
        MetricName="Errors",
        Statistic="Sum",
        Period=10,
        EvaluationPeriods=1,
        Threshold=3,
        ComparisonOperator="GreaterThanOrEqualToThreshold",
        TreatMissingData="notBreaching",
        AlarmActions=[topic],
    )

    def message() -> Any:
        datum = {"MetricName": "Errors", "Value": 1, "Unit": "Count", "StorageResolution": 1}
        cloudwatch.put_metric_data(Namespace="program", MetricData=[datum, datum])
        for found in sqs.receive_message(QueueUrl=queue, WaitTimeSeconds=1).get("Messages", []):
            return json.loads(json.loads(found["Body"])["Message"])
        return None

    said = wait_for("the alarm's message", message)
    state = cloudwatch.describe_alarms(AlarmNames=["program-errors"])["MetricAlarms"][0]["StateValue"]
    return {"told": [said["AlarmName"], said["NewStateValue"]], "state": state}


def connect() -> Any:
    names = {"host": "HOST", "port": "PORT", "dbname": "DB", "user": "USER", "password": "PASSWORD"}
    where: dict[str, Any] = {key: os.environ[f"POSTGRES_{name}"] for key, name in names.items()}
    return psycopg2.connect(**where)


def query(sql: str) -> list[Any]:
    connection = connect()
    try:
        with connection, connection.cursor() as cursor:
            cursor.execute(sql)
            return list(cursor.fetchall())
    finally:
        connection.close()


def work() -> dict[str, Any]:
    """Do everything once."""
    secret = secrets.create_secret(Name="program/database", SecretString="hush")["ARN"]
    ssm.put_parameter(Name="/program/threshold", Value="0.5", Type="String")
    trained = train_models()
    return {
        "trained": trained,
        "deployed": deploy_models(trained["artefacts"]),
        "streamed": stream(),
        "job": run_job(),
        "alarm": alarm(),
        "training_log": log_lines("/aws/sagemaker/TrainingJobs", "program-xgboost/"),
        "secret": secret,
        "rows": query("CREATE TABLE facts AS SELECT 42 AS answer; SELECT answer FROM facts"),
    }


def look() -> dict[str, Any]:
    """Look whether all that ``work`` left is there."""
    for name in ("program-xgboost", "program-forest"):
        sagemaker.get_waiter("endpoint_in_service").wait(
            EndpointName=name, WaiterConfig={"Delay": 1, "MaxAttempts": WAIT_S}
        )
    objects = s3.list_objects_v2(Bucket=BUCKET)["Contents"]
    return {
        **ask_models(),
        "objects": {item["Key"]: item["ETag"] for item in objects},
        "records": sorted(read_all()) == list(range(RECORDS)),
        "retention": kinesis.describe_stream_summary(StreamName=STREAM)["StreamDescriptionSummary"][
            "RetentionPeriodHours"
        ],
        "jobs": {
            job["TrainingJobName"]: job["TrainingJobStatus"]
            for job in sagemaker.list_training_jobs()["TrainingJobSummaries"]
        },
        "approved": [
            package["ModelApprovalStatus"]
            for name in ("program-xgboost", "program-forest")
            for package in sagemaker.list_model_packages(ModelPackageGroupName=name)["ModelPackageSummaryList"]
        ],
        "runs": [run["JobRunState"] for run in glue.get_job_runs(JobName="program-job")["JobRuns"]],
        "alarms": [item["AlarmName"] for item in cloudwatch.describe_alarms()["MetricAlarms"]],
        "secret": secrets.get_secret_value(SecretId="program/database")["ARN"],
        "parameter": ssm.get_parameter(Name="/program/threshold")["Parameter"]["Value"],
        "training_log": log_lines("/aws/sagemaker/TrainingJobs", "program-xgboost/"),
        "rows": query("SELECT answer FROM facts"),
    }


if __name__ == "__main__":
    print(json.dumps({"work": work, "look": look}[sys.argv[1]]()))  # noqa: T201 - its result
