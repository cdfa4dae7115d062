"""A Python client of the contract: lists, streams, resumes and asks for health.

Takes the address of a running `pulsetail demo` and the folder of generated stubs.
"""

import itertools
import sys

import grpc

sys.path.insert(0, sys.argv[2])

from google.protobuf import json_format  # noqa: E402
from grpc_health.v1 import health_pb2, health_pb2_grpc  # noqa: E402
from pulsetail.v1 import (  # noqa: E402
    container_pb2,
    container_service_pb2,
    container_service_pb2_grpc,
    log_service_pb2,
    log_service_pb2_grpc,
)

channel = grpc.insecure_channel(sys.argv[1])
logs = log_service_pb2_grpc.LogServiceStub(channel)
containers = container_service_pb2_grpc.ContainerServiceStub(channel)
health = health_pb2_grpc.HealthStub(channel)


def stream(**fields):
    selector = container_pb2.Selector(names=["web"])
    request = log_service_pb2.StreamLogsRequest(selector=selector, follow=True, **fields)
    return logs.StreamLogs(request, timeout=30)


def batches(call, count):
    found = (message.batch for message in call if message.HasField("batch"))
    taken = list(itertools.islice(found, count))
    call.cancel()
    return taken


serving = health.Check(health_pb2.HealthCheckRequest(service="pulsetail.v1.LogService"))
assert serving.status == health_pb2.HealthCheckResponse.SERVING, serving

listed = containers.ListContainers(container_service_pb2.ListContainersRequest())
names = [container.container.name for container in listed.containers]
assert names == ["api", "cron", "shell", "web", "worker"], names

first = stream(from_beginning=True)
assert next(first).HasField("opened")
read = batches(first, 2)
texts = [entry.text for batch in read for entry in batch.entries]
assert texts[0].startswith('{"level":"info","path":"/item/1"'), texts

# Resumed behind the last batch, the next item is the next one.
resumed = batches(stream(cursors=[read[-1].cursor]), 1)
want = f'/item/{len(texts) + 1}"'
assert want in resumed[0].entries[0].text, (texts, resumed)

try:
    next(logs.StreamLogs(log_service_pb2.StreamLogsRequest()))
    raise AssertionError("an empty selector was accepted")
except grpc.RpcError as error:
    assert error.code() == grpc.StatusCode.INVALID_ARGUMENT, error

# A message holds one start; JSON with two is refused before it is sent.
try:
    json_format.Parse('{"fromNow": true, "tailLines": 1}', log_service_pb2.StreamLogsRequest())
    raise AssertionError("two starts were accepted")
except json_format.ParseError:
    pass

print(f"python: {len(texts)} entries, resumed at {want}")
