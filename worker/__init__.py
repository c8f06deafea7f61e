"""The worker: takes jobs from the queue, does the tasks, sends the mails."""
