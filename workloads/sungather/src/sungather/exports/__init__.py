"""Where readings go: each destination has its own queue on disk and its own task, so that none can hold up another.

destination (the interface) <- console, mqtt, influxdb, pvoutput; outbox (the queue); delivery (the task).
"""
