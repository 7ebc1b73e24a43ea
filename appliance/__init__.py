"""The product: rules of messaging, people and policy, and the wiring of the appliance."""
