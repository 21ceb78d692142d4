"""A kopf operator in twenty lines: a Greeting becomes a ConfigMap that says hello, and goes with it."""

import kopf
from kubernetes_asyncio import client, config


@kopf.on.startup()
async def connect(**_):
    await config.load_kube_config()


@kopf.on.create("docs.example.com", "v1", "greetings")
async def greet(spec, name, namespace, **_):
    body = {"metadata": {"name": f"{name}-greeting"}, "data": {"text": f"Hello, {spec['name']}!"}}
    kopf.adopt(body)
    async with client.ApiClient() as api:
        await client.CoreV1Api(api).create_namespaced_config_map(namespace, body)
    return {"greeted": True}
