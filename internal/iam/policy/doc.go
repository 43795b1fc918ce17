// Package policy evaluates AWS's policy language: who may do what, and why.
//
// [Parse] compiles a document once. [Decide] answers a [Request] from the
// compiled [Policies] that apply to it, and allocates nothing. [Explain] comes
// to the same answer by the same comparisons and returns every reason on the way.
//
// Invariants:
//   - Pure: no I/O, no clock, no randomness. What a request's context does not
//     say and its principal does not imply is not known, and a condition on it
//     behaves as AWS says that conditions on missing keys behave.
//   - Fail closed: an Allow that can't be evaluated does not match, and a kind
//     of principal, resource or value that is not understood is not allowed.
//   - An explicit deny in any policy wins over everything.
//   - Decide and Explain never disagree; a fuzz target holds that.
//   - A parsed [Policy] is immutable and shared between goroutines.
//
// It is not where policies are stored, found or attached, and it knows no
// catalogue of actions beyond the few whose evaluation AWS treats specially
// (see special.go) and those that have no resource (see wildcardonly.go).
//
// The rules are those of "Policy evaluation logic" and "IAM JSON policy element
// reference" in the IAM User Guide; comments name the page where it is not obvious.
package policy
