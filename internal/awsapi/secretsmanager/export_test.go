package secretsmanager

import "github.com/sekisho/sekisho/internal/awsapi"

// Constraints are those that inputs are held against, by operation.
func Constraints() map[string][]awsapi.Member { return constraints }
