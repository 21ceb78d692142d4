"""HTTP towards applications and webhooks: which addresses may be reached, TLS, one small HTTP/1.1 client."""
