"""SAM3's image model: from pixels and concepts to instances. Knows nothing of Ray, Hydra or the job."""
