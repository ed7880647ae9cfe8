"""One run over all services: their order, what is fetched ahead, outcomes, history and the post-update."""
