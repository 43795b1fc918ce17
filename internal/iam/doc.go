// Package iam answers two questions: who makes a request, and may they do it.
//
// A [Principal] is what a credential proves: a signature (package sigv4), an
// access key and its secret, an authorization token, a personal access token, or
// the token of a job. A [Caller] is a
// principal at work: the principal and the facts of the request it makes.
// Every domain operation takes one, so that nothing is done on nobody's behalf.
//
// Invariants:
//   - The zero Caller is anonymous, and an anonymous caller may do nothing.
//   - Unknown means deny: an action, a resource or a principal that an
//     [Authorizer] does not understand is refused.
//   - Secrets are sealed at rest and are in no log, error or String method.
//   - A token is good only as long as the access key that it was issued to. A
//     personal access token is good only as long as its owner, and until it is
//     revoked; that of a job until the job ends. Of these only a keyed hash is kept.
//
// It is not where requests are authorised: that is each domain's own choke point,
// which asks a [Judge]. Nor does it know HTTP.
package iam
