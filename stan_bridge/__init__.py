"""The stan_bridge: a mankeli towards JetStream, an importer of the STAN era towards workers that still speak STAN."""
