// Package awsapi speaks the wire protocols of AWS's APIs: AWS JSON 1.0 and 1.1, and Query. It turns a signed HTTP request
// into one call of a typed function and the outcome into a response that boto3, the AWS CLI and Terraform take for AWS's.
//
// The inputs and outputs of operations are the types of the AWS SDK for Go. A service (packages ecr, iam, sts and so on)
// registers its operations with [Handle] and explains its errors; everything on the wire is here.
//
// Invariants:
//   - No operation runs without a verified signature over everything that it reads, but for those that are [Op.Unsigned].
//   - A body is read only up to its operation's limit, and kept only for a key that exists or if it is short; large bodies
//     share an allowance.
//   - Forms and JSON that two readers could take differently are refused: duplicate members, invalid UTF-8, anything after
//     the end.
//   - An error that no table knows is a 500 with the request id and nothing else; what it was is for the log.
//
// It is not where a caller's permissions are decided, nor does it know what the operations do.
package awsapi
