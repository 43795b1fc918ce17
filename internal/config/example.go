package config

import _ "embed"

//go:generate go test -run TestManual -update

//go:embed example.yaml
var example string

// Example returns a file with every setting, its default, and what it is for.
func Example() string { return example }
