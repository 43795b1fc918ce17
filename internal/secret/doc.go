// Package secret keeps secrets as AWS Secrets Manager does: named values with versions, staging labels, tags and a
// resource policy, and a recovery window before they are gone.
//
// Invariants:
//   - Every method takes the caller and asks the [iam.Judge] before it touches or tells anything; whoever may not is told
//     the same whether or not the secret of another account is there.
//   - Values are sealed in the database, bound to account, name and version (package seal). They are in no error, log,
//     audit record or other way of printing: [Value] shows itself only when it is told to.
//   - A change and its audit record are one transaction.
//   - A secret that is scheduled for deletion gives no value and takes no change but its restoring and its removal.
//   - A value that refers outward is only followed to where the configuration allows its account to go.
//
// It is not where secrets are made or rotated by themselves, and it knows nothing of AWS's wire format.
package secret
