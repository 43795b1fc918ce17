package lint

// ActionNames returns the names of the actions of a service, without it.
func ActionNames(service string) []string { return actionNames(service) }
