"""The landing page: what runs here, who can sign in, and where to go."""

from django.http import HttpRequest, HttpResponse
from django.shortcuts import render

from demo_project.ramp import people
from demo_project.ramp.models import Defect, Flight, Inspection


def home(request: HttpRequest) -> HttpResponse:
    counts = [
        ("flights", f"{Flight.objects.count():,}"),
        ("inspections", f"{Inspection.objects.count():,}"),
        ("defects", f"{Defect.objects.count():,}"),
    ]
    context = {
        "counts": counts,
        "people": people.PEOPLE,
        "password": people.PASSWORD,
        "host": request.get_host(),
    }
    return render(request, "ramp/home.html", context)
