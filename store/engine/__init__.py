"""The ordered key-value contract and the engines that keep it."""
