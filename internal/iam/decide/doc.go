// Package decide answers whether a caller may do what it asks for: it is the [iam.Authorizer] of an instance with policies.
//
// A decision is one of package policy, on the policies that apply: those of the principal and its groups, its permissions
// boundary and session policies from the directory, those of the private endpoint that the request came through, and those
// that the resource brings along. What package policy needs to know of the request is looked up when a condition asks for it.
//
// Invariants:
//   - A decision is made from what was in force at some time after the request arrived, on every node: what the
//     [Authorizer] remembers of a principal is good for one [iam.Generation].
//   - Unknown means deny: a type of principal, a private endpoint or a unique id that is not known allows nothing; and what
//     could not be read is an error, which allows nothing either.
//   - Where a request came from is known from its connection alone. No key of a request can stand in for it.
//   - A refusal tells its caller which kind of policy was missing or said no. Which statement of which policy it tells only
//     of policies of the caller's own account.
//
// It stores nothing, and takes no note of decisions: that is what [iam.Judge] does.
package decide
