package sts

import "github.com/sekisho/sekisho/internal/awsapi"

// The constraints of the service's model (https://docs.aws.amazon.com/STS/latest/APIReference/).
var (
	name    = awsapi.Pattern(`[\w+=,.@-]*`)
	printed = awsapi.Pattern(`[\x{09}\x{0A}\x{0D}\x{20}-\x{7E}\x{85}\x{A0}-\x{D7FF}\x{E000}-\x{FFFD}\x{10000}-\x{10FFFF}]+`)
	latin   = awsapi.Pattern(`[\x{09}\x{0A}\x{0D}\x{20}-\x{FF}]+`)
	serial  = awsapi.Pattern(`[\w+=/:,.@-]*`)
	digits  = awsapi.Pattern(`[\d]*`)

	role = []awsapi.Member{
		{Path: "roleArn", Required: true, Min: 20, Max: 2048, Pattern: printed},
		{Path: "roleSessionName", Required: true, Min: 2, Max: 64, Pattern: name},
		{Path: "durationSeconds", Min: 900, Max: 43200},
		{Path: "policy", Min: 1, Max: 2048, Pattern: latin},
		{Path: "policyArns[].arn", Min: 20, Max: 2048, Pattern: printed},
	}
	assumeRole = append([]awsapi.Member{
		{Path: "tags", Max: 50},
		{Path: "tags[].key", Required: true, Min: 1, Max: 128, Pattern: awsapi.Pattern(`[\p{L}\p{Z}\p{N}_.:/=+\-@]+`)},
		{Path: "tags[].value", Required: true, Max: 256, Pattern: awsapi.Pattern(`[\p{L}\p{Z}\p{N}_.:/=+\-@]*`)},
		{Path: "transitiveTagKeys", Max: 50},
		{Path: "transitiveTagKeys[]", Min: 1, Max: 128},
		{Path: "externalId", Min: 2, Max: 1224, Pattern: awsapi.Pattern(`[\w+=,.@:\/-]*`)},
		{Path: "sourceIdentity", Min: 2, Max: 64, Pattern: name},
		{Path: "serialNumber", Min: 9, Max: 256, Pattern: serial},
		{Path: "tokenCode", Min: 6, Max: 6, Pattern: digits},
	}, role...)
	assumeRoleWithWebIdentity = append([]awsapi.Member{
		{Path: "webIdentityToken", Required: true, Min: 4, Max: 20000, Sensitive: true},
		{Path: "providerId", Min: 4, Max: 2048},
	}, role...)
	getSessionToken = []awsapi.Member{
		{Path: "durationSeconds", Min: 900, Max: 129600},
		{Path: "serialNumber", Min: 9, Max: 256, Pattern: serial},
		{Path: "tokenCode", Min: 6, Max: 6, Pattern: digits},
	}
	getAccessKeyInfo           = []awsapi.Member{{Path: "accessKeyId", Required: true, Min: 16, Max: 128, Pattern: awsapi.Pattern(`[\w]*`)}}
	decodeAuthorizationMessage = []awsapi.Member{{Path: "encodedMessage", Required: true, Min: 1, Max: 10240}}
)
