"""Where an application is: endpoint forms, the pods that a selector chooses, the instances to be polled."""
