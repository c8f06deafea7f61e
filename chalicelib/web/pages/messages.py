"""What a page says when something cannot be done."""

from chalicelib.errors import CarryoutError, Invalid, RequestError, TooMany
from chalicelib.values.languages import Language


def complaint(error: CarryoutError, language: Language) -> str:
    """Say in the user's language what is wrong.

    Args:
        error: Any error of ours; one without a message of its own gets a general one.
        language: The user's.
    """
    if isinstance(error, TooMany):
        return _too_many(error, language)
    if isinstance(error, Invalid) and error.faults:
        flaws = flaws_of(language)
        told = [flaws[fault.pointer] for fault in error.faults if fault.pointer in flaws]
        return " ".join(dict.fromkeys(told)) or language.gettext(
            "Some of this isn't valid. Check it and try again."
        )
    if isinstance(error, RequestError):
        not_now = language.gettext("This action isn't available.")
        return _complaints(language).get(error.code, not_now)
    return language.gettext("Something went wrong on our side.")


def _complaints(language: Language) -> dict[str, str]:
    return {
        "unauthenticated": language.gettext("Sign in to continue."),
        "wrong_credentials": language.gettext("Incorrect username or password."),
        "forbidden": language.gettext("You don't have permission to do this."),
        "form_outdated": language.gettext(
            "This form is out of date. Reload the page and try again."
        ),
        "wrong_password": language.gettext("Incorrect password. Try again."),
        "link_over": language.gettext(
            "This link has expired or has already been used. Request a new one."
        ),
        "address_unconfirmed": language.gettext(
            "Confirm your email address first: open the link in the email we sent you."
        ),
        "registration_closed": language.gettext(
            "Sign-up is closed. To get an account, ask the site's administrator."
        ),
        "not_found": language.gettext("This page doesn't exist, or you don't have access to it."),
        "username_taken": language.gettext("This username is taken. Choose another one."),
        "email_taken": language.gettext("This email address is already in use. Enter another one."),
        "task_in_progress": language.gettext(
            "An export is already in progress. Wait for it to finish, or cancel it."
        ),
        "task_ended": language.gettext("This task has already ended, so it can't be cancelled."),
        "task_active": language.gettext("Only a failed or cancelled task can be tried again."),
        "task_succeeded": language.gettext("Only a failed or cancelled task can be tried again."),
        "not_ready": language.gettext("This export isn't ready yet. Wait until it's done."),
        "no_file": language.gettext(
            "This export failed or was cancelled, so it has no file. Start a new export."
        ),
        "mail_in_progress": language.gettext("The email is already on its way."),
        "quota_exceeded": language.gettext(
            "Your posts take as much space as they may. Delete some first."
        ),
        "too_many_schedules": language.gettext(
            "You have as many schedules as you can have. Delete one first."
        ),
        "schedule_ended": language.gettext(
            "This schedule has no further runs. Create a new one instead."
        ),
        "export_gone": language.gettext(
            "This file has expired or was deleted. Start a new export."
        ),
        "nothing_uploaded": language.gettext("Nothing has been uploaded yet. Choose a file first."),
        "import_gone": language.gettext("This upload has expired. Start a new import."),
        "report_not_ready": language.gettext("This import has no report."),
        "report_gone": language.gettext("This report has expired."),
        "upload_too_large": language.gettext("The file is too large."),
        "too_many_webhooks": language.gettext(
            "You have as many webhooks as one account may have. Delete one to add another."
        ),
        "webhook_disabled": language.gettext("This webhook is disabled. Enable it first."),
        "delivery_in_progress": language.gettext("This delivery is still on its way."),
        "body_too_large": language.gettext("That's too large. The limit is 10 MB."),
        "invalid": language.gettext("Some of this isn't valid. Check it and try again."),
        "unavailable": language.gettext("We can't do this right now. Try again in a moment."),
    }


def flaws_of(language: Language) -> dict[str, str]:
    """The complaint about each field of a form, by its JSON pointer."""
    return {
        "/username": language.gettext(
            "Use 1 to 64 characters for the username: letters A to Z, digits, _ or -."
        ),
        "/email": language.gettext("Enter an email address such as susan@example.com."),
        "/password": language.gettext("Use 8 to 128 characters for the password."),
        "/language": language.gettext("Choose a language from the list."),
        "/url": language.gettext("Enter a public URL that starts with https://."),
        "/events": language.gettext("Choose at least one event."),
        "/body": language.gettext("A post can have 1 to 10,000 characters."),
        "/rrule": language.gettext(
            "Enter a rule such as FREQ=MONTHLY;BYMONTHDAY=1;BYHOUR=3 that runs at least once."
        ),
        "/timezone": language.gettext("Enter a time zone such as Europe/Madrid."),
    }


def _too_many(error: TooMany, language: Language) -> str:
    wait = {"wait": language.duration(error.retry_after_s)}
    if error.code == "cooling_down":
        return (
            language.gettext(
                "Your last export finished a short while ago. You can start the next one in"
                " %(wait)s."
            )
            % wait
        )
    return language.gettext("Too many attempts. Try again in %(wait)s.") % wait
