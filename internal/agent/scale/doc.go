// Package scale starts and ends agents of one job, as a pool needs them: `sekisho agent scale`.
//
// It waits at the server for the pool's demand to change, compares that with what it started, and starts and ends agents through a
// [Template]: processes of this machine, containers, or whatever a plug-in makes.
//
// Invariants:
//   - An agent that has a job is never ended. Before anything is ended the server retires the agent, in a transaction that
//     handing out jobs takes part in: either it has a job and stays, or nobody of its name ever gets one.
//   - There are never more than the most, counting those that start and those that are about to end.
//   - An agent gets one code, good once, for 15 minutes and for its name alone. It is in no argument, environment or file.
//   - What is to be started is written down first. After a crash nothing is forgotten: what runs is found again by its
//     template, and what never came to be is retired.
//
// It doesn't know jobs, and it decides nothing about who may use a pool.
package scale
