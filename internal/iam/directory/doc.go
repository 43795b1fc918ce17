// Package directory keeps the identities of an account and what they may do: users, groups, roles, access keys, managed
// and inline policies, permissions boundaries, tags, OIDC providers, instance profiles, the alias.
//
// Every call of a [Service] that shows or changes something takes a caller and asks the [iam.Judge], with the action and
// the condition keys of AWS's Service Authorization Reference. What a decision needs to know of its resource, its ARN and
// its tags, is read before; nothing else is, and a refusal is the same whether the resource is there or not.
//
// Invariants:
//   - A change, its audit entry and its step of the [iam.Generation] are one transaction. Changes are made one at a
//     time, on all nodes together: each begins with the step. So what a change has looked at stays true until it is done:
//     limits, what is attached, that a role still is the one that was decided on.
//   - Whatever is stored has been parsed: a document that is no policy gets in nowhere.
//   - An identity has a unique id, which no other ever had. Access keys and sessions belong to the id and not to the name.
//   - A policy that names a user or a role means the one that was there when it was written. When that is deleted, its
//     unique id takes the place of its ARN in the documents, as at AWS: one of the same name gets none of its trust.
//     [Options.OnRename] is for documents that other packages keep.
//   - Names are unique whatever their case, and are found only as they are written.
//
// It does not decide: that is what package decide does, from the [Set] of policies of a principal. It knows no protocol:
// lists end at a name rather than at a marker, and times are times.
//
// Names, limits, conflicts and messages are those of the IAM API Reference and of "IAM and AWS STS quotas".
package directory
