"""The client: models on servers, with as many requests in flight as one likes."""
