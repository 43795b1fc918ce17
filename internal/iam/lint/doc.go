// Package lint finds what is wrong with a policy before it is attached: what the server would refuse, what can never
// match, what restricts less than it seems to, what lets too many in, and what locks its author out.
//
// Invariants:
//   - Pure: no I/O and no clock; the document is all that is known. [Check] never fails and never panics.
//   - A finding must be right. Where a document leaves a doubt, there is none: what is missed here, package policy still
//     decides, but who has seen three false alarms reads no fourth.
//   - Whether a condition holds or a policy allows is not judged here: package policy is asked, about requests that are
//     made up from what the document names.
//   - What actions, resources and condition keys there are is data: catalogue.go and keys.go.
//
// It is no simulation of a certain request, and knows nothing of what else an instance has: other policies, endpoints,
// repositories.
package lint
