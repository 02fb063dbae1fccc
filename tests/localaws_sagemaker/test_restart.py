"""What the service knew and served lives on after it ended; no process outlives it."""

import psutil

from tests.localaws_sagemaker.cloud import Cloud


def test_jobs_endpoints_and_packages_live_on(cloud: Cloud, xgboost_endpoint: str) -> None:
    cloud.sagemaker.create_model_package_group(ModelPackageGroupName="kept")
    before = cloud.sagemaker.describe_training_job(TrainingJobName="xgb")
    score = cloud.invoke(xgboost_endpoint, "1,2,3,4,5")
    assert cloud.service.popen is not None
    children = psutil.Process(cloud.service.popen.pid).children(recursive=True)
    assert children

    cloud.service.stop()
    assert not [child for child in children if child.is_running()]
    cloud.service.start(f"{cloud.url}/_health")

    after = cloud.sagemaker.describe_training_job(TrainingJobName="xgb")
    del before["ResponseMetadata"], after["ResponseMetadata"]
    assert after == before
    assert cloud.settled(xgboost_endpoint)["EndpointStatus"] == "InService"
    assert cloud.invoke(xgboost_endpoint, "1,2,3,4,5") == score
    cloud.sagemaker.describe_model_package_group(ModelPackageGroupName="kept")


def test_a_killed_service_leaves_no_model_process(cloud: Cloud, xgboost_endpoint: str) -> None:
    cloud.settled(xgboost_endpoint)
    assert cloud.service.popen is not None
    children = psutil.Process(cloud.service.popen.pid).children(recursive=True)
    assert children
    cloud.service.popen.kill()
    cloud.service.popen.wait(10)
    _, alive = psutil.wait_procs(children, timeout=10)
    assert not alive
    cloud.service.start(f"{cloud.url}/_health")
    for endpoint in cloud.sagemaker.list_endpoints()["Endpoints"]:
        cloud.settled(endpoint["EndpointName"])
