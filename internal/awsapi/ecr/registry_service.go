package ecr

import "github.com/sekisho/sekisho/internal/awsapi"

// handleRegistry registers the operations on registries as wholes.
func (a *API) handleRegistry(s *awsapi.Service) {
	on := func(name string) awsapi.Op { return awsapi.Op{Name: name, Members: registryConstraints[name]} }

	awsapi.Handle(s, on("PutRegistryPolicy"), a.putRegistryPolicy)
	awsapi.Handle(s, on("GetRegistryPolicy"), a.getRegistryPolicy)
	awsapi.Handle(s, on("DeleteRegistryPolicy"), a.deleteRegistryPolicy)

	awsapi.Handle(s, on("GetAccountSetting"), a.getAccountSetting)
	awsapi.Handle(s, on("PutAccountSetting"), a.putAccountSetting)

	awsapi.Handle(s, on("RegisterPullTimeUpdateExclusion"), a.registerPullTimeUpdateExclusion)
	awsapi.Handle(s, on("DeregisterPullTimeUpdateExclusion"), a.deregisterPullTimeUpdateExclusion)
	awsapi.Handle(s, on("ListPullTimeUpdateExclusions"), a.listPullTimeUpdateExclusions)

	awsapi.Handle(s, on("CreateRepositoryCreationTemplate"), a.createRepositoryCreationTemplate)
	awsapi.Handle(s, on("UpdateRepositoryCreationTemplate"), a.updateRepositoryCreationTemplate)
	awsapi.Handle(s, on("DeleteRepositoryCreationTemplate"), a.deleteRepositoryCreationTemplate)
	awsapi.Handle(s, on("DescribeRepositoryCreationTemplates"), a.describeRepositoryCreationTemplates)

	awsapi.Handle(s, on("CreatePullThroughCacheRule"), a.createPullThroughCacheRule)
	awsapi.Handle(s, on("UpdatePullThroughCacheRule"), a.updatePullThroughCacheRule)
	awsapi.Handle(s, on("DeletePullThroughCacheRule"), a.deletePullThroughCacheRule)
	awsapi.Handle(s, on("DescribePullThroughCacheRules"), a.describePullThroughCacheRules)

	awsapi.Handle(s, on("PutReplicationConfiguration"), a.putReplicationConfiguration)
	awsapi.Handle(s, on("GetRegistryScanningConfiguration"), a.getRegistryScanningConfiguration)
	awsapi.Handle(s, on("PutRegistryScanningConfiguration"), a.putRegistryScanningConfiguration)
	awsapi.Handle(s, on("GetSigningConfiguration"), a.getSigningConfiguration)
	awsapi.Handle(s, on("PutSigningConfiguration"), a.putSigningConfiguration)
	awsapi.Handle(s, on("DeleteSigningConfiguration"), a.deleteSigningConfiguration)

	awsapi.Unsupported(s, []string{"ValidatePullThroughCacheRule"},
		"Pull-through cache rules are kept, and nothing is pulled through yet, so there is nothing to validate one with.")
	awsapi.Unsupported(s, []string{
		"StartReplicationBackfill", "StopReplicationBackfill", "ListReplicationBackfills", "DescribeReplicationBackfillResults",
	}, "The replication configuration is kept, and nothing is replicated yet.")
}
