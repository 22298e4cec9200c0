"""What has nothing to do with segmentation."""
