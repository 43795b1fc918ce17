package directory

// noSuch says that what a reference is to is not there.
func noSuch(ref Ref) *Error {
	switch ref.Kind {
	case KindPolicy:
		return errf(NoSuchEntity, "Policy %s was not found.", ref.Name)
	case KindProvider:
		return errf(NoSuchEntity, "OpenIDConnect Provider not found for arn %s", ref.Name)
	case KindProfile:
		return errf(NoSuchEntity, "Instance Profile %s cannot be found.", ref.Name)
	default:
		return errf(NoSuchEntity, "The %s with name %s cannot be found.", ref.Kind, ref.Name)
	}
}

func alreadyThere(r *row) *Error {
	switch r.kind {
	case KindPolicy:
		return errf(EntityAlreadyExists, "A policy called %s already exists. Duplicate names are not allowed.", r.name)
	case KindProvider:
		return errf(EntityAlreadyExists, "Provider with url https://%s already exists.", r.name)
	case KindProfile:
		return errf(EntityAlreadyExists, "Instance Profile %s already exists.", r.name)
	default:
		return errf(EntityAlreadyExists, "%s with name %s already exists.", actionNames[r.kind], r.name)
	}
}

func noInline(of Kind, name string) *Error {
	return errf(NoSuchEntity, "The %s policy with name %s cannot be found.", of, name)
}
