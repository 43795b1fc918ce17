package iam

import "crypto/rand"

// randomKeyID returns a new access key id as AWS forms them, with the prefix of its kind.
func randomKeyID(prefix string) string {
	return prefix + rand.Text()[:16] // 80 random bits; the id is no secret, only unique
}

// randomSecret returns 40 letters and digits, 238 random bits. AWS has "+" and
// "/" as well, which shells, URLs and YAML are known to stumble over.
func randomSecret() string {
	const alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789"
	var b [64]byte
	secret := make([]byte, 0, 40)
	for {
		_, _ = rand.Read(b[:]) // never fails
		for _, c := range b {
			if c &= 63; int(c) < len(alphabet) {
				if secret = append(secret, alphabet[c]); len(secret) == cap(secret) {
					return string(secret)
				}
			}
		}
	}
}
