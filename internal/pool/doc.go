// Package pool keeps pools and their agents: who may use a pool, which agents are in it and what they can do, and how
// a machine becomes one of them.
//
// Invariants:
//   - Every method that takes a caller asks the [iam.Judge] before it touches or tells anything. Those that take none are
//     for the queue of runs, which decided before.
//   - An agent is its key: what is stored is the public half, and everything an agent does is signed with the other.
//     Enrolling again under the same name makes another agent; the one before is nobody from then on.
//   - A code enrols one agent, once, and is stored as a hash. A token of an identity provider enrols one agent too.
//   - An enrolment that is repeated with the same key, because its answer was lost, gives the same agent.
//   - A change and its audit record are one transaction.
//
// It doesn't know jobs: the queue says which claim an agent has, with [Begin] and [End]. Nor does it know the protocol
// that agents speak.
package pool
