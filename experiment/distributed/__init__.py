"""Several processes that train one network: launching, finding and keeping in step with each other."""
