"""The greeter for a bad day: it asks again soon, and what it asked for may have been made already."""

import kopf
from kubernetes_asyncio import client, config


@kopf.on.startup()
async def connect(**_):
    await config.load_kube_config()


@kopf.on.create("docs.example.com", "v1", "greetings", backoff=0.5)
async def greet(spec, name, namespace, **_):
    body = {"metadata": {"name": f"{name}-greeting"}, "data": {"text": f"Hello, {spec['name']}!"}}
    kopf.adopt(body)
    async with client.ApiClient() as api:
        try:
            await client.CoreV1Api(api).create_namespaced_config_map(namespace, body)
        except client.ApiException as error:
            if error.status != 409:  # made by an attempt whose answer was lost
                raise
    return {"greeted": True}
