"""What the agent made goes to its repository: pushed to a branch, and made a pull request."""

from dataclasses import replace
from pathlib import Path

from tasks.agent_job.publish_settings import PublishPlan
from tasks.observation.cluster_evidence import ClusterEvidence
from tasks.orchestrator.artifacts import flow_run_address
from tasks.orchestrator.stage import stage
from tasks.outcome.reasons import Reason
from tasks.outcome.report_page import fetch_command
from tasks.outcome.run_result import PublishedWork, WorkResult
from tasks.outcome.verdict import judge_run
from tasks.publishing.publish_failures import PublishFailed
from tasks.publishing.request_texts import request_text
from tasks.publishing.work_publishing import PublishOrder, publish_bundle
from tasks.result import collect_facts
from tasks.run.agent_run import AgentRun
from tasks.run.attempt_at_work import AttemptAtWork
from tasks.run.ended_attempt import CollectedWork, EndedAttempt
from tasks.run.publish_credentials import read_publish_credentials
from tasks.storage.pushed_commits import StoredPushes
from tasks.vocabulary.errors import InputInvalid
from tasks.work.restricted_git import GitMissing

# A large pack on a slow connection, and what a server's limits ask to wait.
_PUBLISH_SECONDS = 600.0
# What a process about to be killed needs for verdict, report and Job.
_CONCLUDE_SECONDS = 6.0


@stage("Publish work")
async def publish_work(ended: EndedAttempt) -> EndedAttempt:
    """Push the work if nothing else keeps the run from its success; say where it is.

    The work lies in the result storage by now, and stays there. A run that failed otherwise has
    its work collected and not published. Whatever goes wrong is part of the result, never an error.

    Returns:
        The end of the attempt, with what became of the publication.
    """
    run, work, collected = ended.run, ended.work, ended.collected
    if work is None or work.publish_plan is None or collected is None:
        return ended
    published = PublishedWork(**work.publish_plan.model_dump(exclude={"start_ref"}))
    facts = collect_facts(ended, ClusterEvidence())
    if collected.result.is_unchanged:
        return ended
    if judge_run(facts).reason is not Reason.WORK_NOT_PUBLISHED:
        problem = "The run did not succeed, so its work was not pushed."
        return _with(ended, collected, published.model_copy(update={"problem": problem}))
    try:
        run.outside.lease.check_may_write()
        published = await _publish(run, work, work.publish_plan, collected)
    except PublishFailed as failure:
        published = _failed(published, str(failure), failure.advice)
    except (GitMissing, InputInvalid) as failure:
        published = _failed(published, str(failure), "Correct that where the flow runs.")
    except Exception as failure:
        # Nothing of it may end a run whose work is in the result storage.
        sentence = f"Publishing it failed ({type(failure).__name__})."
        published = _failed(published, sentence, "Look at the run's log.")
    if published.problem is not None:
        published = published.model_copy(update={"advice": _advice(run, published)})
        run.outside.say(f"The work was not published: {published.problem}")
    else:
        link = f"; {published.pull_request_url}" if published.pull_request_url else ""
        run.outside.say(f"Pushed {published.commit} to branch {published.branch}{link}.")
    return _with(ended, collected, published)


def _with(ended: EndedAttempt, collected: CollectedWork, published: PublishedWork) -> EndedAttempt:
    result = collected.result.model_copy(update={"published": published})
    return replace(ended, collected=replace(collected, result=result))


def _failed(published: PublishedWork, sentence: str, advice: str) -> PublishedWork:
    return published.model_copy(update={"problem": sentence, "advice": advice})


async def _publish(
    run: AgentRun, work: AttemptAtWork, plan: PublishPlan, collected: CollectedWork
) -> PublishedWork:
    result, publish = collected.result, run.prepared.runtime.publish
    published = PublishedWork(**plan.model_dump(exclude={"start_ref"}))
    if publish is None:
        sentence = "The runtime of the run that concluded the Job has no `publish`."
        return _failed(published, sentence, "Set it again.")
    if collected.bundle is None or result.work_commit is None or result.base_commit is None:
        sentence = "There is no bundle of the work to push from."
        return _failed(published, sentence, "Look at what was left out of the work.")
    credentials = await read_publish_credentials(run, publish)
    order = PublishOrder(
        plan=plan,
        publish=publish,
        commit=result.work_commit,
        base=result.base_commit,
        bundle=collected.bundle,
        text=request_text(
            run.prepared,
            publish,
            plan,
            _redacted(result, run),
            task_id=work.job.task_id if work.job is not None else None,
            run_link=flow_run_address(run.prepared.flow_run_id),
            answer=work.session.summary().summary,
            redactor=run.outside.redactor,
        ),
    )
    storage, owner = run.outside.storage, run.storage_owner
    pushes = StoredPushes(storage, owner.pushes(plan.remote, plan.branch), plan.remote, plan.branch)
    seconds = run.outside.controls.bounded(_PUBLISH_SECONDS, leaving_seconds=_CONCLUDE_SECONDS)
    folder: Path = run.outside.folder_path
    return await publish_bundle(order, credentials, pushes, folder, seconds=seconds)


def _redacted(work: WorkResult, run: AgentRun) -> WorkResult:
    branch = run.outside.redactor.text(work.branch) if work.branch else None
    return work.model_copy(update={"branch": branch})


def _advice(run: AgentRun, published: PublishedWork) -> str:
    """Return what to do, and the command that then pushes what was collected."""
    command = fetch_command(run.prepared.agent_id, "--run", run.prepared.flow_run_id, "--push")
    return f"{published.advice or ''} Then push what was collected: `{command}`.".strip()
