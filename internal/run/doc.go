// Package run carries out pipelines: it starts runs, decides what of them is next, gives jobs to agents, keeps what they
// tell, and answers questions about it. A run is a state machine in the database; whoever changes it (an agent's report,
// somebody's answer, the clock) does so in a transaction that also takes all the steps that follow. Nothing of a run is in
// memory alone, so kill -9 of the server loses nothing that was acknowledged.
//
// Invariants:
//   - Every job ends in exactly one recorded result.
//   - A job is given to one agent at a time. That is a claim: the job, a number that rises with every claim, and the agent.
//     Whatever is told of a job is told under a claim, and only the one that counts now is listened to; the rest gets
//     work.ErrClaimLost and is recorded.
//   - An agent that is lost is no failure of the job: the claim ends as lost, with its cause, and the job goes to another
//     agent once. Only then it is abandoned.
//   - Bytes of logs that were acknowledged are there, once, in their order.
//   - Of a run, the row of the run is locked first by whoever changes its stages, jobs or claims. Only logs and staged files are
//     written under nothing but the claim.
//   - Secrets are opened when a job is handed out, never before, and only for runs that are trusted. They are in no event, record or log
//     that this package writes.
//   - The decisions themselves (what is ready, what a condition says, what a matrix becomes) are package flow's.
//
// It does not know the language of pipelines, git, or the agents' protocol.
package run
