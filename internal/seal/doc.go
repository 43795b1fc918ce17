// Package seal keeps secrets at rest: it encrypts the values of certain columns of the metadata database, so that
// neither the database nor a backup of it tells them without the instance's master key.
//
// Keys are in three levels. The master key is outside of the database, in a file or in the configuration. It seals the
// sealing keys, which are random and in the database. The newest of those seals the rows. So the master key, or the
// sealing key, can be replaced without the server losing a row: see [Ring.Rotate].
//
// Invariants:
//   - A sealed value opens only in the table and row that it was sealed for, so that values can't be exchanged.
//   - Only the columns of [Columns] hold sealed values, so rotation knows them all.
//   - A sealing key is deleted only when nothing is sealed with it and no running transaction can still do so.
//   - No error and no way of printing shows a key or what was sealed. Fingerprints, which are safe to show, name master keys.
//
// The cipher is AES-256-GCM with random nonces, which is good for 2³² values under one sealing key.
//
// It is not where it is decided who may read a secret, nor where the master key is kept.
package seal
